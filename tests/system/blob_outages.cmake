foreach(test calm planning open closing closing_frozen commit committed
        reducer_starts_in_an_open_round reducer_starts_between_two_rounds downloads_and_uploads
        sweep wrong_keys)
    confed_system_test(blob_outages.${test} test_blob_outages.py TEST BlobOutage.test_${test}
        TIMEOUT 300)
endforeach()
