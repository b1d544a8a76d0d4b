// Asks for the API key, where the server wants one.

import { apiKey } from "./api.js";
import { find } from "./dom.js";

/** Resolves to true once a key was given, to false if the question was left without one. */
export function askForKey(complaint = null) {
  const dialog = find("#key");
  const field = find("input", dialog);
  const problem = find(".problem", dialog);
  problem.textContent = complaint ?? "";
  problem.hidden = !complaint;
  field.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "use";
      if (given) apiKey.use(field.value.trim());
      field.value = "";
      resolve(given);
    }, { once: true });
  });
}
