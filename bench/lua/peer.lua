-- What a team would write today with Debian's lua module: the other side of
-- lookup_vs_lua_redis and enrich_vs_lua.

local cjson = require "cjson.safe"
local redis = require "nginx.redis"

local _M = {}

local devices = ngx.shared.devices


-- GET /lua-redis?ip=: two Redis commands on a kept connection, over TCP as
-- lua-nginx-redis's own documentation does it
function _M.redis(port)
    local red = redis:new()

    red:set_timeout(1000)

    local ok, err = red:connect("127.0.0.1", port)
    if not ok then
        return ngx.exit(503)
    end

    local meta = red:hget("defender:meta", "generation")
    local entity = red:get("defender:ip:" .. ngx.var.arg_ip)

    red:set_keepalive(10000, 16)

    if not entity or entity == ngx.null or not meta then
        return ngx.exit(404)
    end

    ngx.print(entity)
end


-- POST /lua-load: one "address<TAB>entity" a line, into the shared dict
function _M.load()
    ngx.req.read_body()

    for ip, entity in ngx.req.get_body_data():gmatch("([^\t\n]+)\t([^\n]+)") do
        devices:set(ip, entity)
    end

    ngx.print("loaded\n")
end


local function enrich(object)
    local found

    for key, value in pairs(object) do
        if type(value) == "table" then
            enrich(value)

        elseif type(value) == "string" then
            local entity = devices:get(value)

            if entity then
                found = found or {}
                found[key] = cjson.decode(entity)
            end
        end
    end

    if found then
        object.defender = found
    end
end


-- body filter: the whole body, decoded, enriched, encoded
function _M.enrich()
    local chunk, eof = ngx.arg[1], ngx.arg[2]
    local ctx = ngx.ctx

    ctx.body = (ctx.body or "") .. chunk

    if not eof then
        ngx.arg[1] = nil
        return
    end

    local object = cjson.decode(ctx.body)

    if object then
        enrich(object)
        ngx.arg[1] = cjson.encode(object)

    else
        ngx.arg[1] = ctx.body
    end
end


return _M
