"use strict";
// Narrows the table of all rows down. Without a script it shows them all.
(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  const [text, state, beyond, count] = ["text", "state", "beyond", "count"].map((name) =>
    document.getElementById(`filter-${name}`),
  );
  const rows = [...document.querySelectorAll("#row-table tbody tr")];
  const words = rows.map((row) => row.textContent.toLowerCase());
  const narrow = () => {
    const wanted = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      const fits =
        wanted.every((word) => words[index].includes(word)) &&
        (!state.value || row.dataset.state === state.value) &&
        (!beyond.checked || "beyond" in row.dataset);
      row.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    count.textContent = `${shown} of ${rows.length}`;
  };
  form.addEventListener("input", narrow);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  narrow();
})();
