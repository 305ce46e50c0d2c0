foreach(point reducer_before_planned reducer_planned reducer_plan_sent reducer_collecting
        reducer_partial_received reducer_blob_written reducer_committed combiner_upload_running
        combiner_upload_published combiner_logged combiner_answered combiner_sealed
        combiner_checkpoint_written combiner_checkpointed combiner_checkpoint_swept
        combiner_gone_for_good client_training client_uploaded client_admitted)
    set(labels "")
    if(point MATCHES "^(reducer_collecting|combiner_logged)$")
        set(labels threads)
    endif()
    confed_system_test(crash.${point} test_crash.py TEST Crash.test_${point} TIMEOUT 300
        LABELS ${labels})
endforeach()
