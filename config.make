# Runs after NGINX has written its Makefile: adds the rule that has cargo build the module.

. "$ngx_addon_dir/auto/rust"

ntlm_rust_make
