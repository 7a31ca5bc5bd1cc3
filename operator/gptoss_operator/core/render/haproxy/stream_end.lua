-- A stream whose replica is lost in the middle ends with an error event, instead of nothing.
--
-- A filter costs much for each request that has one, so only streams get one: the frontend's last rule says that the
-- request at hand asks for a stream, and HAProxy makes the filter right after it, in the same step. Each thread has a
-- Lua of its own, so no other request comes in between.

local EVENT = '\n\ndata: {"error":{"message":"the replica was lost while it answered; the answer is incomplete",'
  .. '"type":"server_error","param":null,"code":"replica_lost"}}\n\ndata: [DONE]\n\n'

local stream_expected = false

core.register_action("expect_stream", { "http-req" }, function(txn)
  stream_expected = true
end, 0)

local StreamEnd = { id = "stream end", flags = filter.FLT_CFG_FL_HTX }
StreamEnd.__index = StreamEnd

function StreamEnd:new()
  if not stream_expected then
    return nil
  end
  stream_expected = false
  return setmetatable({}, StreamEnd)
end

function StreamEnd:http_headers(txn, message)
  if not message:is_resp() then
    return
  end
  local types = message:get_headers()["content-type"]
  if types and types[0] and types[0]:find("text/event-stream", 1, true) then
    filter.register_data_filter(self, message.channel)
  end
end

function StreamEnd:http_payload(txn, message)
  if not message:eom() and not message:may_recv() then
    message:append(EVENT)
    message:set_eom()
  end
end

core.register_filter("stream_end", StreamEnd, function(instance)
  return instance
end)
