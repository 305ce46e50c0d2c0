confed_system_test(compose compose/test_compose.py TIMEOUT 900 LABELS slow ALONE)
