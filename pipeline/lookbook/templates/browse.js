// Sorts a table of models by the column whose head is clicked, and shows one person at a time, chosen by the address (#user-5), so that links and the browser's back button work.
// Without this script all people are shown one below the other, and the same links lead to them.
(() => {
  const here = document.querySelector("nav.contents [aria-current]");
  const row = here?.closest("ul");
  if (row) row.scrollLeft = here.offsetLeft - (row.clientWidth - here.offsetWidth) / 2;
  for (const table of document.querySelectorAll("table.models")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (head.classList.contains("graphic")) return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      const text = (row) => row.cells[column].textContent.trim();
      const value = (row) => parseFloat(text(row).replace("−", "-"));
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") !== "descending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => {
          if (column === 0) return down ? text(b).localeCompare(text(a)) : text(a).localeCompare(text(b));
          if (isNaN(value(a)) || isNaN(value(b))) return isNaN(value(a)) - isNaN(value(b)); // rows without a value last
          return down ? value(b) - value(a) : value(a) - value(b);
        });
        table.tBodies[0].append(...rows);
      });
    });
  }
  const people = [...document.querySelectorAll("[data-person]")];
  const links = [...document.querySelectorAll("[data-chooses]")];
  const said = document.querySelector("[data-said]");
  if (people.length < 2) return;
  const show = () => {
    const wanted = location.hash.slice(1);
    const chosen = people.find((person) => person.id === wanted) ?? people[0];
    for (const person of people) person.hidden = person !== chosen;
    for (const link of links) {
      if (link.hash === `#${chosen.id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    if (said) said.textContent = `Showing ${chosen.dataset.person}`;
  };
  addEventListener("hashchange", show);
  show();
})();
