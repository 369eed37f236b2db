#ifndef DFD_CLIENT_HTTP_MEMORY_H
#define DFD_CLIENT_HTTP_MEMORY_H

#include <curl/curl.h>


/*
 * curl_global_init() with memory functions that wipe what libcurl frees: it
 * copies the bearer token, and the secret in a form, into buffers of its own.
 */
CURLcode dfd_http_memory_init(void);


#endif /* DFD_CLIENT_HTTP_MEMORY_H */
