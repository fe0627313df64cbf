// What axe-core checks of it, and we have got wrong: names of buttons, labels, ids, and contrast. Returns the faults.

() => {
    const faults = [];
    const root = document.querySelector('.wpc-dashboard');
    for (const node of root.querySelectorAll('button, input, select, [tabindex], [role=group], [role=table]')) {
        const name = node.getAttribute('aria-label') ?? node.textContent.trim();
        const says = node.matches('button') ? node.textContent.trim().toLowerCase() : '';
        if (!name) faults.push(`no name: ${node.className}`);
        if (/\w/.test(says) && !name.toLowerCase().includes(says)) faults.push(`${name} does not say ${says}`);
    }
    for (const node of root.querySelectorAll('[aria-controls], [aria-labelledby]'))
        for (const id of [node.getAttribute('aria-controls'), node.getAttribute('aria-labelledby')])
            if (id && !document.getElementById(id)) faults.push(`no ${id}`);
    const ids = [...root.querySelectorAll('[id]')].map((node) => node.id);
    if (new Set(ids).size !== ids.length) faults.push('an id twice');
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const over = ([r, g, b, a], below) => [r, g, b].map((each, i) => (each * a + below[i] * (255 - a)) / 255);
    const background = (node) => {
        const own = rgba(getComputedStyle(node).backgroundColor);
        return own[3] === 255 || !node.parentElement ? own.slice(0, 3) : over(own, background(node.parentElement));
    };
    const light = (rgb) => rgb.map((each) => each / 255)
        .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4))
        .reduce((sum, each, i) => sum + each * [0.2126, 0.7152, 0.0722][i], 0);
    for (const node of root.querySelectorAll('*')) {
        const isText = [...node.childNodes].some((each) => each.nodeType === 3 && each.data.trim());
        if (!isText || !node.offsetParent || node.disabled || node.matches('style, option')) continue;
        const [a, b] = [over(rgba(getComputedStyle(node).color), background(node)), background(node)].map(light);
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5) faults.push(`${contrast.toFixed(1)}: ${node.className} ${node.textContent}`);
    }
    return faults;
}
