confed_system_test(compose compose/test_compose.py TIMEOUT 1800 LABELS slow ALONE)
