foreach(case library library_survives_the_combiner library_survives_the_reducer command api_client)
    confed_system_test(fedn.${case} test_fedn.py TEST Fedn.test_${case} TIMEOUT 300)
endforeach()
