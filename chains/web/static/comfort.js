// Comfort only: every page is complete without it. Copy buttons, and the reader's own time beside UTC.
"use strict";
for (const button of document.querySelectorAll("button.copy")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  const label = button.firstChild.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.firstChild.textContent = "Copied";
    } catch {
      button.firstChild.textContent = "Not copied";
    }
    setTimeout(() => { button.firstChild.textContent = label; }, 2000);
  });
}
for (const time of document.querySelectorAll("time[datetime]")) {
  const moment = new Date(time.dateTime);
  if (Number.isNaN(moment.getTime()) || !time.dateTime.includes("T")) continue;
  time.title = "Your time: " + moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
}
document.addEventListener("keydown", (event) => {
  const field = document.getElementById("q");
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !field) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) return;
  event.preventDefault();
  field.focus();
});
