#!lua name=tollgate_VERSION
-- The newest entries of organizations, in front of a PostgreSQL that gets them a little later. Each function is one step that
-- nothing comes between. VERSION is a hash of this text, so functions of several versions of Tollgate are there side by side.
--
-- Keys, all in the slot of a shard of the organizations:
--   1 shard    hash    number, reign: the incarnation that lives here, and the reign of the server that it lives in
--   2 moving   set     organizations with entries that are only here
--   3 noticed  set     those of them with notices
--   4 org      hash    number: the incarnation that it was settled in; base: up to which entry PostgreSQL has all;
--                      version: the latest entry; order: when that was appended, in microseconds, each later than the former
--   5 tail     stream  the entries behind base, by their numbers: c the call that appended it, of the first of an append only;
--                      o when; e the entry
--   6 keys     hash    callers' keys that the tail made or took back, by their hashes: MADE,REVERSED
--
-- Every function is told the incarnation that its caller knows, and answers with a word first:
--   LOST    another one lives here, or none: the server started anew, took over from another, or lost its keys
--   ABSENT  nothing is known of the organization: PostgreSQL has all
--   FORMER  it is as a former incarnation left it: to be settled with what PostgreSQL has
--   KNOWN   it is as it should be

-- As what this server reigns: it has another name after each start and each time that it took over from another. Where it may
-- have lost something meanwhile, as a primary that became a replica, it loaded this text anew.
local reign

local function this_reign()
    if not reign then
        reign = string.match(redis.call('INFO', 'replication'), 'master_replid:(%w+)')
    end
    return reign
end

-- A number as a text: Lua itself would write large ones with an exponent.
local function text(number)
    return string.format('%.0f', number)
end

local function is_lost(keys, incarnation)
    local lives = redis.call('HMGET', keys[1], 'number', 'reign')
    return lives[1] ~= incarnation or lives[2] ~= this_reign()
end

-- What is known of the organization; with KNOWN its base and its version.
local function look(keys, incarnation)
    if is_lost(keys, incarnation) then
        return 'LOST'
    end
    local org = redis.call('HMGET', keys[4], 'number', 'base', 'version')
    if not org[1] then
        return 'ABSENT'
    end
    if org[1] ~= incarnation then
        return 'FORMER'
    end
    return 'KNOWN', tonumber(org[2]), tonumber(org[3])
end

-- The value of a field of an entry in a stream.
local function field(entry, name)
    local values = entry[2]
    for at = 1, #values, 2 do
        if values[at] == name then
            return values[at + 1]
        end
    end
end

local function entry_at(keys, number)
    local id = text(number)
    return redis.call('XRANGE', keys[5], id, id)[1]
end

-- incarnation: begins it, unless a later one did: LATER
local function begin(keys, args)
    local number = tonumber(redis.call('HGET', keys[1], 'number') or 0)
    if tonumber(args[1]) <= number then
        return 'LATER'
    end
    redis.call('HSET', keys[1], 'number', args[1], 'reign', this_reign())
    return 'KNOWN'
end

-- incarnation: whether it lives here
local function check(keys, args)
    return is_lost(keys, args[1]) and 'LOST' or 'KNOWN'
end

-- incarnation, org, version and latest entry in PostgreSQL: takes the organization into the incarnation. What a former one
-- left is kept if it goes on where PostgreSQL ends, and is of the same ledger. BEHIND: PostgreSQL lacks what it had.
local function settle(keys, args)
    local found = look(keys, args[1])
    if found == 'LOST' or found == 'KNOWN' then
        return found
    end
    local org, cold = args[2], tonumber(args[3])
    local former = redis.call('HMGET', keys[4], 'base', 'version')
    local base, version = tonumber(former[1] or cold), tonumber(former[2] or cold)
    if base > cold then
        return 'BEHIND'
    end
    local goes_on = version > cold
    if goes_on and cold > base then
        local same = entry_at(keys, cold)
        goes_on = same and field(same, 'e') == args[4]
    end
    if not goes_on then
        base, version = cold, cold
        redis.call('DEL', keys[5], keys[6])
        redis.call('SREM', keys[2], org)
        redis.call('SREM', keys[3], org)
    end
    redis.call('HSET', keys[4], 'number', args[1], 'base', text(base), 'version', text(version))
    return 'KNOWN'
end

-- What became of a call that appended behind a version, if it did: DONE or CONFLICT; EARLIER: PostgreSQL knows.
local function outcome(keys, base, version, expected, call)
    if expected < base then
        return 'EARLIER'
    end
    local first = entry_at(keys, expected + 1)
    if first and field(first, 'c') == call then
        -- Written again: whoever waits until it is on the disk waits for what the first attempt wrote, too.
        redis.call('HSET', keys[4], 'version', text(version))
        return 'DONE'
    end
    return 'CONFLICT'
end

-- incarnation, call, expected version: what became of the call
local function ask(keys, args)
    local found, base, version = look(keys, args[1])
    if found ~= 'KNOWN' then
        return found
    end
    return outcome(keys, base, version, tonumber(args[3]), args[2])
end

local function note_key(keys, hash, made, reversed)
    if made == '' then
        local known = redis.call('HGET', keys[6], hash)
        made = known and string.match(known, '^(%d*),') or ''
    end
    redis.call('HSET', keys[6], hash, made .. ',' .. reversed)
end

-- incarnation, call, expected version, org, whether there are notices, how many keys, of each hash and made and reversed, and
-- the entries: appends if the organization is at this version
local function append(keys, args)
    local found, base, version = look(keys, args[1])
    if found ~= 'KNOWN' then
        return found
    end
    local expected = tonumber(args[3])
    if version ~= expected then
        return outcome(keys, base, version, expected, args[2])
    end
    local now = redis.call('TIME')
    local order = tonumber(now[1]) * 1000000 + tonumber(now[2])
    order = math.max(order, tonumber(redis.call('HGET', keys[4], 'order') or 0) + 1)
    local call, first = args[2], 7 + 3 * tonumber(args[6])
    for at = first, #args do
        version = version + 1
        redis.call('XADD', keys[5], text(version) .. '-0', 'c', call, 'o', text(order), 'e', args[at])
        call = ''
    end
    for at = 7, first - 1, 3 do
        note_key(keys, args[at], args[at + 1], args[at + 2])
    end
    redis.call('SADD', keys[2], args[4])
    if args[5] == '1' then
        redis.call('SADD', keys[3], args[4])
    end
    redis.call('HSET', keys[4], 'version', text(version), 'order', text(order))
    return 'DONE'
end

-- incarnation, from, until, at most how many, oldest or newest: KNOWN, base, version, and of entries number, call, order, entry
local function read(keys, args)
    local found, base, version = look(keys, args[1])
    if found ~= 'KNOWN' then
        return { found }
    end
    local answer = { found, base, version }
    if args[4] == '0' then
        return answer
    end
    local entries
    if args[5] == 'newest' then
        entries = redis.call('XREVRANGE', keys[5], args[3], args[2], 'COUNT', args[4])
    else
        entries = redis.call('XRANGE', keys[5], args[2], args[3], 'COUNT', args[4])
    end
    for _, entry in ipairs(entries) do
        answer[#answer + 1] = string.match(entry[1], '^%d+')
        answer[#answer + 1] = field(entry, 'c')
        answer[#answer + 1] = field(entry, 'o')
        answer[#answer + 1] = field(entry, 'e')
    end
    return answer
end

-- incarnation, hashes of keys: KNOWN, and of each the entry that it made and the number of the one that took it back, or ''
local function find(keys, args)
    local found = look(keys, args[1])
    if found ~= 'KNOWN' then
        return { found }
    end
    local answer = { found }
    for at = 2, #args do
        local made, reversed = string.match(redis.call('HGET', keys[6], args[at]) or ',', '^(%d*),(%d*)$')
        local entry = made ~= '' and entry_at(keys, tonumber(made))
        answer[#answer + 1] = entry and field(entry, 'e') or ''
        answer[#answer + 1] = reversed
    end
    return answer
end

-- incarnation, org, number, hashes of keys: forgets the entries up to this number, which PostgreSQL has, and what of these
-- keys is in them
local function trim(keys, args)
    local found, base, version = look(keys, args[1])
    local until_number = tonumber(args[3])
    if found ~= 'KNOWN' or until_number <= base then
        return found
    end
    if until_number >= version then
        until_number = version
        redis.call('DEL', keys[5])
        redis.call('SREM', keys[2], args[2])
        redis.call('SREM', keys[3], args[2])
    else
        redis.call('XTRIM', keys[5], 'MINID', text(until_number + 1))
    end
    redis.call('HSET', keys[4], 'base', text(until_number))
    for at = 4, #args do
        local made, reversed = string.match(redis.call('HGET', keys[6], args[at]) or ',', '^(%d*),(%d*)$')
        local is_kept = function(number) return number ~= '' and tonumber(number) > until_number end
        if is_kept(made) or is_kept(reversed) then
            redis.call('HSET', keys[6], args[at], (is_kept(made) and made or '') .. ',' .. (is_kept(reversed) and reversed or ''))
        else
            redis.call('HDEL', keys[6], args[at])
        end
    end
    return found
end

-- What frees memory, or finds out what was done, works also when there is no memory left.
local function register(name, callback, flag)
    redis.register_function { function_name = 'tollgate_' .. name .. '_VERSION', callback = callback, flags = { flag } }
end

register('begin', begin, 'allow-oom')
register('check', check, 'no-writes')
register('settle', settle, 'allow-oom')
register('ask', ask, 'allow-oom')
register('append', append)
register('read', read, 'no-writes')
register('find', find, 'no-writes')
register('trim', trim, 'allow-oom')
