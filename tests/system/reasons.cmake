foreach(case late session_over no_sender too_large combiner_lost)
    confed_system_test(reasons.${case} test_reasons.py TEST Reasons.test_${case})
endforeach()
