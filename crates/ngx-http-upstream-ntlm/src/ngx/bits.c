/*
 * Bit-fields of nginx's structs, for request.rs, http2.rs and content.rs, and one look into OpenSSL's, for tls.rs.
 *
 * Where nginx puts bit-fields behind a member that is smaller than they are (in_port_t port, from 1.29 on), the
 * generated bindings place them at other bits than the C compiler does. So it is the C compiler that is asked.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/*
 * njs's r.subrequest() makes background subrequests whose answers are
 * read from memory: a client waits for those.
 */

ngx_uint_t
ngx_http_upstream_ntlm_is_background(ngx_http_request_t *r)
{
    return (r->background && !r->subrequest_in_memory)
           || r->main->post_action;
}


void
ngx_http_upstream_ntlm_clear_keepalive(ngx_http_request_t *r)
{
    r->keepalive = 0;
}


ngx_uint_t
ngx_http_upstream_ntlm_is_header_only(ngx_http_request_t *r)
{
    return r->header_only;
}


ngx_uint_t
ngx_http_upstream_ntlm_is_header_sent(ngx_http_request_t *r)
{
    return r->header_sent;
}


void
ngx_http_upstream_ntlm_mark_last(ngx_http_request_t *r, ngx_buf_t *b)
{
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;
}


ngx_uint_t
ngx_http_upstream_ntlm_is_keepalive(ngx_http_request_t *r)
{
    return r->main->keepalive;
}


/*
 * Over HTTP/2, nginx sets chunked for a body whose length the client does
 * not say, and leaves it set when it has read the body.
 */

ngx_uint_t
ngx_http_upstream_ntlm_is_repeatable(ngx_http_request_t *r)
{
    r = r->main;

    return r->headers_in.content_length_n <= 0 && !r->headers_in.chunked
           && !r->header_sent;
}


ngx_uint_t
ngx_http_upstream_ntlm_has_whole_body(ngx_http_request_t *r)
{
#if (NGX_HTTP_V2)
    return r->stream && r->stream->in_closed
           && r->headers_in.content_length_n >= 0 && !r->headers_in.chunked
           && (r->upstream_states == NULL || r->upstream_states->nelts == 0);
#else
    return 0;
#endif
}


ngx_uint_t
ngx_http_upstream_ntlm_is_kept_through_exit(ngx_http_request_t *r)
{
#if (nginx_version >= 1027004)
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r->main, ngx_http_core_module);

    return r->main->keepalive && clcf->keepalive_min_timeout > 0;
#else
    return 0;
#endif
}


void
ngx_http_upstream_ntlm_set_value(ngx_http_variable_value_t *v, u_char *data,
    size_t len)
{
    v->len = len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    v->data = data;
}


#if (NGX_HTTP_SSL && nginx_version < 1021000)

/*
 * Before 1.21.0 proxy_ssl_certificate is a part of the TLS context, where
 * ngx_ssl_certificate() notes its name.  A key that does not belong to the
 * certificate is refused, so the name of the key tells nothing more.
 */

u_char *
ngx_http_upstream_ntlm_tls_certificate(ngx_http_upstream_t *u)
{
    X509  *cert;

    if (u->conf->ssl == NULL || u->conf->ssl->ctx == NULL) {
        return NULL;
    }

    cert = SSL_CTX_get_ex_data(u->conf->ssl->ctx, ngx_ssl_certificate_index);

    return cert ? X509_get_ex_data(cert, ngx_ssl_certificate_name_index) : NULL;
}

#endif
