import '../login.js'
