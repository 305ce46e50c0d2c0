foreach(case every_reason set_aside deadline_and_late quorum_missed)
    confed_system_test(refusals.${case} test_refusals.py TEST Refusals.test_${case} LABELS threads)
endforeach()
