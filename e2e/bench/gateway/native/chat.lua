-- For wrk: a chat request of 2 KB, and what came of it as one line of JSON.
local words, length = {}, 0
while length < 1980 do
  local word = "lorem ipsum " .. #words .. " "
  words[#words + 1] = word
  length = length + #word
end

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer sk-bench-0123456789abcdef"
wrk.body = '{"model":"openai/gpt-oss-20b","messages":[{"role":"user","content":"' .. table.concat(words)
  .. '"}],"max_tokens":50,"temperature":0}'

done = function(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'JSON {"requests":%d,"microseconds":%d,"errors":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests,
    summary.duration,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50),
    latency:percentile(99)
  ))
end
