confed_system_test(events test_events.py TIMEOUT 240 LABELS threads)
