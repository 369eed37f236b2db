#ifndef DFD_AGENT_SCRIPTS_H
#define DFD_AGENT_SCRIPTS_H


/*
 * What must happen in Redis in one step.  KEYS[1] is the lease and ARGV[1]
 * our token; a fenced script writes nothing and returns -1 when the lease has
 * another value, so that a process that slept past its lease cannot write.
 */

#define DFD_SCRIPT_FENCE                                                      \
    "if redis.call('GET',KEYS[1])~=ARGV[1] then return -1 end\n"


/*
 * ARGV: token, ttl, token of the former agent of this host (may be empty).
 * Returns 1, or the holder's token.
 */
#define DFD_SCRIPT_TAKE                                                       \
    "local v=redis.call('GET',KEYS[1])\n"                                     \
    "if v and v~=ARGV[1] and (ARGV[3]=='' or v~=ARGV[3]) then return v end\n" \
    "redis.call('SET',KEYS[1],ARGV[1],'PX',ARGV[2])\n"                        \
    "return 1"


/*
 * A lease that has vanished is not taken again here: somebody else may have
 * had it in between, and what this process was doing must not go on.
 * KEYS[2]: the stage of a running poll; ARGV: token, ttl, ttl of the stage.
 */
#define DFD_SCRIPT_RENEW                                                      \
    DFD_SCRIPT_FENCE                                                          \
    "redis.call('PEXPIRE',KEYS[1],ARGV[2])\n"                                 \
    "if KEYS[2] then redis.call('PEXPIRE',KEYS[2],ARGV[3]) end\n"             \
    "return 1"


#define DFD_SCRIPT_RELEASE                                                    \
    DFD_SCRIPT_FENCE                                                          \
    "return redis.call('DEL',KEYS[1])"


/*
 * KEYS: lease, stage, devices; ARGV: token, ttl, then id and record in turn.
 * Returns how many ids were new in the stage, how many of them the devices do
 * not have, and how many they have with another record.  Of two records with one id the newer lastSeen
 * stays; its fraction has 0 to 7 digits, so it is filled up before comparing.
 */
#define DFD_SCRIPT_STAGE                                                      \
    DFD_SCRIPT_FENCE                                                          \
    "local function seen(r)\n"                                                \
    " local ok,m=pcall(cjson.decode,r)\n"                                     \
    " m=ok and type(m)=='table' and m.lastSeen\n"                             \
    " if type(m)~='string' then return '' end\n"                              \
    " local s,f=string.match(m,'^([%d%-]+T[%d:]+)%.?(%d*)Z$')\n"              \
    " return s and s..'.'..string.sub(f..'0000000',1,7) or ''\n"              \
    "end\n"                                                                   \
    "local new,k=0,{0,0,0}\n"                                                 \
    "local function kind(c,r,n)\n"                                            \
    " local i=type(c)~='string' and 1 or c~=r and 2 or 3\n"                   \
    " k[i]=k[i]+n\n"                                                          \
    "end\n"                                                                   \
    "for i=3,#ARGV,2 do\n"                                                    \
    " local id,r=ARGV[i],ARGV[i+1]\n"                                         \
    " local c=redis.pcall('HGET',KEYS[3],id)\n"                               \
    " if redis.call('HSETNX',KEYS[2],id,r)==1 then\n"                         \
    "  new=new+1\n"                                                           \
    "  kind(c,r,1)\n"                                                         \
    " else\n"                                                                 \
    "  local o=redis.call('HGET',KEYS[2],id)\n"                               \
    "  if o~=r and seen(r)>=seen(o) then\n"                                   \
    "   redis.call('HSET',KEYS[2],id,r)\n"                                    \
    "   kind(c,o,-1)\n"                                                       \
    "   kind(c,r,1)\n"                                                        \
    "  end\n"                                                                 \
    " end\n"                                                                  \
    "end\n"                                                                   \
    "redis.call('PEXPIRE',KEYS[2],ARGV[2])\n"                                 \
    "return {new,k[1],k[2]}"


/*
 * KEYS: lease, stage, devices, meta; ARGV: token, devices that the stage must
 * have, pollStarted, pollFinished, state, source.  The new generation and how many
 * devices there were before, or -2
 * when the stage is not whole (it expired, or Redis lost it), -3 when meta is
 * not ours.  All checks come first, as Redis undoes nothing.  UNLINK is the
 * first write: it needs no memory, and once a script has written, Redis does
 * not stop it at maxmemory.  RENAME would take the stage's expiry along.
 */
#define DFD_SCRIPT_PUBLISH                                                    \
    DFD_SCRIPT_FENCE                                                          \
    "local t=redis.call('TYPE',KEYS[4]).ok\n"                                 \
    "if t~='hash' and t~='none' then return -3 end\n"                         \
    "if redis.call('HLEN',KEYS[2])~=tonumber(ARGV[2]) then return -2 end\n"   \
    "local old=redis.pcall('HLEN',KEYS[3])\n"                                 \
    "old=type(old)=='number' and old or 0\n"                                  \
    "redis.call('UNLINK',KEYS[3])\n"                                          \
    "if redis.call('PERSIST',KEYS[2])==1 then\n"                              \
    " redis.call('RENAME',KEYS[2],KEYS[3]) end\n"                             \
    "local g=(tonumber(redis.call('HGET',KEYS[4],'generation')) or 0)+1\n"    \
    "redis.call('HSET',KEYS[4],'schema','1',\n"                               \
    " 'generation',string.format('%.0f',g),'pollStarted',ARGV[3],\n"          \
    " 'pollFinished',ARGV[4],'devices',ARGV[2],'state',ARGV[5],\n"            \
    " 'source',ARGV[6])\n"                                                    \
    "redis.call('HDEL',KEYS[4],'wiped')\n"                                    \
    "return {g,old}"


/*
 * KEYS: lease, devices, meta; ARGV: token, revision of the settings.  The
 * devices go at once; "source" stays until the addresses have gone as well,
 * so that another process goes on with it when this one dies.  A wiped meta
 * has a generation but no poll.
 */
#define DFD_SCRIPT_WIPE                                                       \
    DFD_SCRIPT_FENCE                                                          \
    "redis.call('UNLINK',KEYS[2])\n"                                          \
    "if redis.call('TYPE',KEYS[3]).ok~='hash' then\n"                         \
    " redis.call('UNLINK',KEYS[3]) end\n"                                     \
    "redis.call('HDEL',KEYS[3],'pollStarted','pollFinished',\n"               \
    " 'ipGeneration')\n"                                                      \
    "redis.call('HSETNX',KEYS[3],'source','-')\n"                             \
    "redis.call('HSET',KEYS[3],'schema','1','devices','0','addresses','0',\n" \
    " 'state','waiting','wiped',ARGV[2])\n"                                   \
    "return 1"


/*
 * KEYS: lease, meta, set of addresses, then what goes with the settings;
 * ARGV: token, state.  0: the set has members again.
 */
#define DFD_SCRIPT_WIPED                                                      \
    DFD_SCRIPT_FENCE                                                          \
    "if redis.call('EXISTS',KEYS[3])==1 then return 0 end\n"                  \
    "for i=4,#KEYS do redis.call('UNLINK',KEYS[i]) end\n"                     \
    "redis.call('HDEL',KEYS[2],'source')\n"                                   \
    "redis.call('HSET',KEYS[2],'state',ARGV[2])\n"                            \
    "return 1"


/* KEYS: lease, status, meta; ARGV: token, JSON, state */
#define DFD_SCRIPT_STATUS                                                     \
    DFD_SCRIPT_FENCE                                                          \
    "redis.call('SET',KEYS[2],ARGV[2])\n"                                     \
    "if redis.call('EXISTS',KEYS[3])==1 then\n"                               \
    " redis.call('HSET',KEYS[3],'state',ARGV[3]) end\n"                       \
    "return 1"


/*
 * KEYS: lease, set of addresses, then a key for each address; ARGV: token,
 * ttl, then address and entity in turn
 */
#define DFD_SCRIPT_IP_SET                                                     \
    DFD_SCRIPT_FENCE                                                          \
    "for i=3,#KEYS do\n"                                                      \
    " redis.call('SET',KEYS[i],ARGV[2*i-2],'PX',ARGV[2])\n"                   \
    " redis.call('SADD',KEYS[2],ARGV[2*i-3])\n"                               \
    "end\n"                                                                   \
    "return 1"


/* KEYS: as above; ARGV: token, then the addresses that have no device */
#define DFD_SCRIPT_IP_DROP                                                    \
    DFD_SCRIPT_FENCE                                                          \
    "for i=3,#KEYS do\n"                                                      \
    " redis.call('UNLINK',KEYS[i])\n"                                         \
    " redis.call('SREM',KEYS[2],ARGV[i-1])\n"                                 \
    "end\n"                                                                   \
    "return 1"


/*
 * KEYS: meta, devices.  Which generation there is, how many devices it was
 * published with, and how many are there: keys of Redis can be evicted or
 * removed one by one.
 */
#define DFD_SCRIPT_WHOLE                                                      \
    "local function m(f) return redis.call('HGET',KEYS[1],f) end\n"           \
    "return {m('generation'),m('pollStarted'),m('devices'),\n"                \
    " string.format('%.0f',redis.call('HLEN',KEYS[2]))}"


/* KEYS: lease, meta; ARGV: token, generation, addresses */
#define DFD_SCRIPT_IP_DONE                                                    \
    DFD_SCRIPT_FENCE                                                          \
    "if redis.call('HGET',KEYS[2],'generation')~=ARGV[2] then return 0 end\n" \
    "redis.call('HSET',KEYS[2],'ipGeneration',ARGV[2],'addresses',ARGV[3])\n" \
    "return 1"


#endif /* DFD_AGENT_SCRIPTS_H */
