foreach(test planning planned open closing commit commit_beside_sweeps committed_and_validating
        frozen_while_open before_the_start_of_a_session reducer_starts_before_the_database
        a_waiting_reducer_ends_on_sigterm)
    confed_system_test(outages.${test} test_outages.py TEST Outage.test_${test} TIMEOUT 300)
endforeach()
confed_system_test(outages.two_reducers test_outages.py TEST TwoReducers TIMEOUT 120)
