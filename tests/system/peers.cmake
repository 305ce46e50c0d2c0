foreach(case 0_20 0_26 0_27 0_20_combiner_killed 0_26_combiner_killed 0_27_combiner_killed
        0_20_command)
    confed_system_test(peers.${case} test_peers.py TEST Peers.test_${case} TIMEOUT 240)
endforeach()
