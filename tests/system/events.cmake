confed_system_test(events test_events.py TIMEOUT 400 LABELS threads)
