confed_system_test(tidying test_tidying.py)
