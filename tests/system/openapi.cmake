confed_system_test(openapi test_openapi.py TIMEOUT 120)
