/*
 * A module that changes groups while requests are served: "renew_groups" initialises each again, as modules do that change its
 * servers; "replace_groups" does so with what the group had before postconfiguration, as if it had been made just now.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

static char *set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static void *create_main_conf(ngx_conf_t *cf);
static char *init_main_conf(ngx_conf_t *cf, void *conf);

#define MOST  16

static ngx_http_upstream_init_pt  before[MOST];

static ngx_command_t  commands[] = {
    { ngx_string("renew_groups"), NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS, set, 0, 0, NULL },
    { ngx_string("replace_groups"), NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS, set, 0, 0, NULL },
    ngx_null_command
};

static ngx_http_module_t  context = {
    NULL, NULL, create_main_conf, init_main_conf, NULL, NULL, NULL, NULL
};

ngx_module_t  renewed_module = {
    NGX_MODULE_V1, &context, commands, NGX_HTTP_MODULE, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
    NGX_MODULE_V1_PADDING
};

ngx_module_t  *ngx_modules[] = { &renewed_module, NULL };
char          *ngx_module_names[] = { "renewed_module", NULL };
char          *ngx_module_order[] = { NULL };

static void *
create_main_conf(ngx_conf_t *cf)
{
    return before;
}

static char *
init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_uint_t                      i;
    ngx_http_upstream_srv_conf_t  **us;
    ngx_http_upstream_main_conf_t  *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    us = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts && i < MOST; i++) {
        before[i] = us[i]->peer.init_upstream;
    }

    return NGX_CONF_OK;
}

static ngx_int_t
each_group(ngx_http_request_t *r, ngx_uint_t replaces)
{
    ngx_conf_t                      cf;
    ngx_uint_t                      i;
    ngx_http_upstream_init_pt       init;
    ngx_http_upstream_srv_conf_t  **us;
    ngx_http_upstream_main_conf_t  *umcf;

    umcf = ngx_http_get_module_main_conf(r, ngx_http_upstream_module);
    us = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts && i < MOST; i++) {
        if (us[i]->srv_conf == NULL) {
            continue;
        }

        ngx_memzero(&cf, sizeof(ngx_conf_t));
        cf.name = "renewed";
        cf.pool = ngx_cycle->pool;
        cf.log = ngx_cycle->log;
        cf.module_type = NGX_HTTP_MODULE;
        cf.cmd_type = NGX_HTTP_MAIN_CONF;

        init = replaces ? before[i] : us[i]->peer.init_upstream;
        if (init == NULL) {
            init = ngx_http_upstream_init_round_robin;
        }

        if (init(&cf, us[i]) != NGX_OK) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    return NGX_HTTP_NO_CONTENT;
}

static ngx_int_t
renew(ngx_http_request_t *r)
{
    return each_group(r, 0);
}

static ngx_int_t
replace(ngx_http_request_t *r)
{
    return each_group(r, 1);
}

static char *
set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = cmd->name.data[2] == 'n' ? renew : replace;

    return NGX_CONF_OK;
}
