confed_system_test(memory.200_mb test_memory.py TEST Memory.test_200_mb LABELS slow ALONE)
