foreach(case half_open_streams unfinished_uploads long_messages_unfinished message_without_end
        byte_a_second
        garbage_on_every_port long_headers rapid_resets heartbeats_and_statuses compressed)
    confed_system_test(floods.${case} test_floods.py TEST Floods.test_${case} ALONE)
endforeach()
