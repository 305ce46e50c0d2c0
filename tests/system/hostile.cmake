foreach(case newest_stream_wins address_changed uploads_of_one_id ids control_has_no_effect
        only_safe_statuses rest_input)
    confed_system_test(hostile.${case} test_hostile.py TEST Hostile.test_${case})
endforeach()
