-- A stream whose replica is lost in the middle ends with an error event, instead of nothing.
--
-- A filter costs much for each request that has one, so only streams get one: the frontend's last rule says that the
-- request at hand asks for a stream, and HAProxy makes the filter right after it, in the same step. Each thread has a
-- Lua of its own, so no other request comes in between.
--
-- HAProxy 3.0 looks up `http_payload` for each piece of the answer, and then makes ten tables to call it: half of what
-- a stream costs. So there the look-up itself asks whether the server can still send. While it can, HAProxy finds a
-- number instead of a function, and takes it as if the function had returned it: so many bytes may pass.

local EVENT = '\n\ndata: {"error":{"message":"the replica was lost while it answered; the answer is incomplete",'
  .. '"type":"server_error","param":null,"code":"replica_lost"}}\n\ndata: [DONE]\n\n'

local ALL_BYTES = 0x7fffffff
local LOOKS_UP_FIRST = "^3%.0%."

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
    self.answer = message
    filter.register_data_filter(self, message.channel)
  end
end

function StreamEnd:http_payload(txn, message)
  if not message:eom() and not message:may_recv() then
    message:append(EVENT)
    message:set_eom()
  end
end

local function look_up(self, name)
  if name == "http_payload" then
    local answer = rawget(self, "answer")
    if not answer or answer:may_recv() then
      return ALL_BYTES
    end
  end
  return StreamEnd[name]
end

core.register_init(function()
  if core.get_info()["Version"]:find(LOOKS_UP_FIRST) then
    StreamEnd.__index = look_up
  end
end)

core.register_filter("stream_end", StreamEnd, function(instance)
  return instance
end)
