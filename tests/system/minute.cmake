foreach(test database object_store)
    confed_system_test(minute.${test} test_minute.py TEST Minute.test_${test} TIMEOUT 400 LABELS slow)
endforeach()
