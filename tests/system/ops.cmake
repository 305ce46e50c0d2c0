confed_system_test(ops test_ops.py TIMEOUT 300 LABELS threads)
