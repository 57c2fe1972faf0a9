-- SPDX-License-Identifier: ISC
-- load.lua - what wrk sends: people look at the day, open an appointment, now and then book one.

local book = wrk.format("POST", "/appointments", { ["Content-Type"] = "application/json" },
    '{"patient":"Ada Adler","doctor":2,"reason":"check-up"}')
local page = wrk.format("GET", "/")
local day = wrk.format("GET", "/appointments")

function request()
    local r = math.random(100)
    if r <= 10 then
        return book
    elseif r <= 25 then
        return page
    elseif r <= 50 then
        return day
    end
    return wrk.format("GET", "/appointments/" .. math.random(108))
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format("result requests %d seconds %.2f status %d socket %d p50 %d p99 %d max %d\n",
        summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
        latency:percentile(50), latency:percentile(99), latency.max))
end
