cmake_policy(VERSION 3.20)

# Writes files.c: a table of the dashboard's files, each as it is and packed, taken in by .incbin.
#
#   cmake -DFILES=… -DSOURCE=… -DVEGA_DIR=… -DGZIP=… -DOUTPUT=… -P embed.cmake
#
# Everything is served below an address with the hash of all files, so that browsers may keep them
# for ever; index.html alone, which holds that address, is asked for each time.

# The plot library: Debian ships Vega's modules one by one, in the form in which each would replace
# the others' global. They are put into one file with a small require(); those that our plots
# don't use (maps, word clouds, …) are left out. Order: what is required comes first.
set(modules util time format loader dataflow statistics scale canvas scenegraph expression selection
    functions event-selector parser runtime transforms view-transforms encode hierarchy view
    interpreter)
function(write_vega path)
    set(text "/* Vega (BSD-3-Clause, University of Washington Interactive Data Lab), Debian's libjs-vega */\n")
    string(APPEND text "(() => {\nconst modules = {};\nconst require = (name) =>"
        " modules[name === 'vega-selections' ? 'vega-selection' : name];\n")
    foreach(module ${modules})
        file(READ ${VEGA_DIR}/vega-${module}.min.js code)
        string(REGEX REPLACE "//# sourceMappingURL=[^\n]*" "" code "${code}")
        string(APPEND text "((exports, module) => {\n${code}\n})(modules['vega-${module}'] = {}, {});\n")
    endforeach()
    string(APPEND text "globalThis.vegaModules = modules;\n})();\n")
    file(WRITE ${path} "${text}")
endfunction()

function(type_of name ret)
    if(name MATCHES "\\.html$")
        set(type "text/html; charset=utf-8")
    elseif(name MATCHES "\\.css$")
        set(type "text/css; charset=utf-8")
    elseif(name MATCHES "\\.js$")
        set(type "text/javascript; charset=utf-8")
    elseif(name MATCHES "\\.svg$")
        set(type "image/svg+xml")
    else()
        set(type "application/json")
    endif()
    set(${ret} ${type} PARENT_SCOPE)
endfunction()

set(folder ${OUTPUT}/files)
file(REMOVE_RECURSE ${folder})
file(MAKE_DIRECTORY ${folder}/plots)
write_vega(${folder}/vega.js)
set(names vega.js)
file(SHA256 ${folder}/vega.js hashes)
foreach(path ${FILES})
    file(RELATIVE_PATH name ${SOURCE} ${path})
    configure_file(${path} ${folder}/${name} COPYONLY)
    list(APPEND names ${name})
    file(SHA256 ${path} hash)
    string(APPEND hashes ${hash})
endforeach()
string(SHA256 build "${hashes}")
string(SUBSTRING ${build} 0 16 build)
file(READ ${folder}/index.html page)
string(REPLACE "@FILES@" "/dashboard/files/${build}" page "${page}")
file(WRITE ${folder}/index.html "${page}")

set(symbols "")
set(rows "")
set(i 0)
foreach(name ${names})
    set(path ${folder}/${name})
    execute_process(COMMAND ${GZIP} -9 -n -k -f ${path} COMMAND_ERROR_IS_FATAL ANY)
    file(SHA256 ${path} hash)
    string(SUBSTRING ${hash} 0 16 hash)
    file(SIZE ${path} size)
    file(SIZE ${path}.gz gzip_size)
    type_of(${name} type)
    foreach(kind plain gzip)
        set(symbol dashboard_${kind}_${i})
        set(from ${path})
        if(kind STREQUAL "gzip")
            set(from ${path}.gz)
        endif()
        string(APPEND symbols "__asm__(\".section .rodata\\n.global ${symbol}\\n.hidden ${symbol}\\n\"\n"
            "        \"${symbol}:\\n.incbin \\\"${from}\\\"\\n.byte 0\\n.previous\\n\");\n"
            "extern const unsigned char ${symbol}[];\n")
    endforeach()
    string(APPEND rows "    {\"${name}\", \"${type}\", \"\\\"${hash}\\\"\","
        " {dashboard_plain_${i}, ${size}}, {dashboard_gzip_${i}, ${gzip_size}}},\n")
    math(EXPR i "${i} + 1")
endforeach()
file(WRITE ${OUTPUT}/files.c
    "/* Made by embed.cmake. */\n#include \"reducer/dashboard/dashboard_inside.h\"\n\n${symbols}\n"
    "const struct dashboard_file dashboard_files[] = {\n${rows}};\n"
    "const size_t dashboard_n_files = ${i};\n"
    "const char dashboard_build_text[] = \"${build}\";\n")
