// Sorts a table by the column whose head is clicked: numbers by value, empty cells last.
(() => {
  "use strict";
  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending", value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const rows = [...body.rows].sort((a, b) => {
          const [p, q] = [value(a), value(b)];
          if (p === "" || q === "") return (p === "") - (q === "");
          const order = isNaN(p) || isNaN(q) ? p.localeCompare(q, undefined, { numeric: true }) : p - q;
          return up ? order : -order;
        });
        body.append(...rows);
      });
    });
  }
})();
