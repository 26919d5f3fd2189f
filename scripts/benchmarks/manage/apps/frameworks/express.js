// Express, as its documentation has it. /slow takes 300 ms.
const app = require('express')();

app.get('/', (request, response) => response.type('text').send(`${process.pid}`));
app.get('/slow', (request, response) => setTimeout(() => response.type('text').send(`${process.pid}`), 300));
app.listen(Number(process.env.PORT));
