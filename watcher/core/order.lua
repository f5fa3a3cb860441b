-- The rules of watcher/core/order.py, where they stand in words, and by their numbers there.
--
-- final(standing): whether an event ends its task. current(text): a standing as it is stored, brought to today's form;
-- false where it is none. order(current, standing): the standing to store where the event supersedes the state, else
-- 'late' or 'drop'.

local byte, sub = string.byte, string.sub
local UNKNOWN = '0000000000.000000'
local STARTED, RETRY, SUCCESS = byte('2'), byte('4'), byte('6')

local function final(standing)
  local rank = byte(standing, 7) or 0
  return rank > RETRY or rank == 48 and string.find(standing, ' REJECTED', 25, true) ~= nil
end

-- Written before lives and runs were told, or by somebody else: anything else counts as nothing.
local function current(text)
  if not text or #text < 24 then return false end
  if byte(text, 25) == 32 or #text < 44 then text = sub(text, 1, 24) .. '.0' .. UNKNOWN .. ' ' .. sub(text, 26) end
  return text
end

local function end_of_runs(standing) return string.find(standing, ' ', 44, true) or #standing + 1 end

local function runs(standing, blank)
  local all = sub(standing, 44, blank - 1)
  local comma = string.find(all, ',', 1, true)
  if not comma then return all, '' end
  return sub(all, 1, comma - 1), sub(all, comma)
end

-- Rule 3: between two tries of one life.
local function of_tries(rank, before, try, tries)
  if try > tries then return rank >= STARTED or before < RETRY end
  return before < STARTED and rank >= RETRY and (tonumber(tries) or 0) - tonumber(try) == 1
end

-- Rules 4 and 5: between two runs of one try.
local function of_runs(rank, before, told, known, run, followed)
  if string.find(followed .. ',', ',' .. run .. ',', 1, true) then return false end
  if byte(told, 26) < byte(known, 26) then return false end
  return rank >= STARTED or before < STARTED or sub(known, 25, 25) == 'l'
end

local function order(known, told)
  local rank, before = byte(told, 7), byte(known, 7)
  local blank = end_of_runs(told)
  if rank > before and sub(told, 26, blank) == sub(known, 26, blank) and sub(told, 1, 6) == sub(known, 1, 6) then
    return told  -- the same run goes on, as most do
  end
  local sent, since = sub(told, 27, 43), sub(known, 27, 43)
  local known_blank = end_of_runs(known)
  local run = runs(told, blank)
  local its, followed = runs(known, known_blank)
  local same_run = run == '' or its == '' or run == its
  local life = sent
  if sent ~= since and sent ~= UNKNOWN and (since ~= UNKNOWN or final(known) and sent > sub(known, 8, 24)) then  -- 1
    if sent < since then return 'late' end
    return told
  end
  if sent == UNKNOWN then life = since end
  local try, tries = sub(told, 1, 6), sub(known, 1, 6)
  if final(told) and final(known) and try == tries and rank == before and same_run
      and sub(told, blank) == sub(known, known_blank) then
    return 'drop'
  end
  local holds
  if before == SUCCESS or rank == SUCCESS then  -- 2
    holds = before ~= SUCCESS or rank == SUCCESS and try < tries
  elseif try ~= tries then
    holds = of_tries(rank, before, try, tries)
  elseif same_run then  -- 6, 7
    holds = rank >= before or (sub(known, 25, 25) == 'b' and rank >= STARTED and sub(told, 25, 25) ~= 'b')
  else
    holds = of_runs(rank, before, told, known, run, followed)
  end
  if not holds then return 'late' end
  if try ~= tries then
    followed = ''
  elseif not same_run and rank >= STARTED and before >= STARTED and its ~= '' then
    followed = ',' .. its .. followed
    if #followed > 200 then followed = string.match(sub(followed, 1, 200), '^(.*),') or '' end
  end
  if run == '' and try == tries then run = its end
  return sub(told, 1, 26) .. life .. run .. followed .. sub(told, blank)
end
