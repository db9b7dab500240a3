# fngate_add_plugin(NAME sources...): a plugin's .so: one exported symbol, no undefined ones.

function(fngate_add_plugin name)
    add_library(${name} MODULE ${ARGN})
    set_target_properties(${name} PROPERTIES PREFIX "" C_VISIBILITY_PRESET hidden
                                             CXX_VISIBILITY_PRESET hidden)
    set_property(GLOBAL APPEND PROPERTY FNGATE_PLUGINS ${name})
    target_link_libraries(${name} PRIVATE fngate-sdk)
    target_link_options(${name} PRIVATE -Wl,-z,now -Wl,--exclude-libs,ALL)
    # With a sanitizer its run time lives in the executable, so symbols stay open.
    if(NOT FNGATE_SANITIZE)
        target_link_options(${name} PRIVATE -Wl,-z,defs)
    endif()
    if(FNGATE_PLUGIN_OUTPUT_DIR)
        set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY
                                                 ${FNGATE_PLUGIN_OUTPUT_DIR})
    endif()
endfunction()
