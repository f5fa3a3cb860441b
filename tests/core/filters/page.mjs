// The page's filter language for a test: a line of JSON with a question comes in, a line with the answer goes out.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const web = pathToFileURL(`${process.argv[2]}/`);
const { InvalidFilter, absoluteOf, parse, passing, spanOf, textOf } = await import(new URL("model/filter.js", web));
const { call } = await import(new URL("model/format.js", web));

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(answer(JSON.parse(line))));
}

function answer({ text, now, tasks }) {
  try {
    const groups = parse(text, now);
    const passes = passing({ kind: "all", groups }, now);
    const { since, until } = spanOf(groups, now);
    return {
      text: textOf(groups),
      absolute: textOf(absoluteOf(groups, now)),
      span: [Number.isFinite(since) ? since : null, Number.isFinite(until) ? until : null],
      passed: tasks.map((task) => passes(task, `${task.name ?? ""}${call(task, Infinity)}`)),
    };
  } catch (error) {
    if (!(error instanceof InvalidFilter)) throw error;
    return { error: error.message, meant: error.meant ?? null };
  }
}
