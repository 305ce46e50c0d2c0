confed_system_test(settings test_settings.py TIMEOUT 60)
