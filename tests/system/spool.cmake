confed_system_test(spool test_spool.py TIMEOUT 300)
