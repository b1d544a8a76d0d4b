// What is known about one token: how probable it is, and what else could have stood in its place.

import { AUTHORS } from "./answer.js";
import { el } from "./dom.js";

/** Lines about the token at `position` of `answer`, the last one a list of the likeliest tokens there. */
export function tokenFacts({ tokens, ranked, options }, position) {
  const token = tokens[position];
  const known = ranked[position] ?? { token: "", top: [] };
  const reader = AUTHORS[options.mode === "drafter" ? "drafter" : "base"];
  // A part of a character has no text of its own.
  const lines = [`${quoted(token.text || known.token)} · token ${position + 1}, by ${AUTHORS[token.author]}`];
  if (token.logprob === null) lines.push(`${reader} has not read it yet`);
  else lines.push(`probability to ${reader} ${share(token.logprob)} (log ${signed(token.logprob)})`);
  if (token.confidence !== null) {
    lines.push(`confidence ${token.confidence.toFixed(3)}; the base takes over from ${options.threshold} on`);
  }
  if (known.top.length) lines.push(`${reader} finds likeliest here:`, likeliest(known));
  return lines;
}

/** What stands there is marked. */
function likeliest({ token, top }) {
  return el("ol", { class: "likeliest" }, ...top.map((each) =>
    el("li", { class: each.token === token && "taken" },
      el("span", { class: "what" }, quoted(each.token)), " ", el("span", {}, share(each.logprob)),
      el("span", {}, each.token === token ? "✓" : ""))));
}

/** With spaces and ends of lines to be seen. */
const quoted = (text) => JSON.stringify(text);

const signed = (logprob) => (logprob > -0.005 ? "0.00" : logprob.toFixed(2).replace("-", "−"));

function share(logprob) {
  const probability = Math.exp(logprob);
  return probability >= 0.001 || probability === 0 ? probability.toFixed(3) : probability.toExponential(1);
}
