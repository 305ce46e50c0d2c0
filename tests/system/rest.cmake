confed_system_test(rest test_rest.py TIMEOUT 180)
