// In front of the report's own scripts: notes what goes wrong in them.
"use strict";
window.problems = [];
window.addEventListener("error", (event) => problems.push(String(event.message)));
window.addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
for (const level of ["error", "warn"]) {
  const print = console[level];
  console[level] = (...words) => {
    problems.push(words.join(" "));
    print.apply(console, words);
  };
}
