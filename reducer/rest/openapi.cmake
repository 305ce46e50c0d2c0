# cmake -D IN=openapi.json -D OUT=openapi.inc -P openapi.cmake: the file as the numbers of its bytes.
file(READ ${IN} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUT} "${bytes}\n")
