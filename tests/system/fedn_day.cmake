confed_system_test(fedn_day test_fedn_day.py TIMEOUT 240)
