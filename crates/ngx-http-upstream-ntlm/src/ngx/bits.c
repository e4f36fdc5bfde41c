/*
 * Bit-fields of ngx_http_request_t, for request.rs.
 *
 * Where nginx puts bit-fields behind a member that is smaller than they are (in_port_t port, from 1.29 on), the
 * generated bindings place them at other bits than the C compiler does. So it is the C compiler that is asked.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


ngx_uint_t
ngx_http_upstream_ntlm_is_background(ngx_http_request_t *r)
{
    return r->background || r->main->post_action;
}


void
ngx_http_upstream_ntlm_clear_keepalive(ngx_http_request_t *r)
{
    r->keepalive = 0;
}
