#ifndef DFD_CORE_JSON_WIPE_H
#define DFD_CORE_JSON_WIPE_H


/*
 * Makes jansson wipe what it frees: its parser copies the texts of a body, an
 * App Secret among them, into buffers of its own.  To be called before any
 * other function of jansson.
 */
void dfd_json_wipe_init(void);


#endif /* DFD_CORE_JSON_WIPE_H */
