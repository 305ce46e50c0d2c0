confed_system_test(dashboard test_dashboard.py TIMEOUT 400)
