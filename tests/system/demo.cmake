foreach(case up_with_rounds up_two_combiners_same_bits up_ends_on_ctrl_c cli)
    confed_system_test(demo.${case} test_demo.py TEST Demo.test_${case})
endforeach()
