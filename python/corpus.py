"""The text that the bundled model is trained on.

Everything is made here from small tables and sentence templates, so that the model can be rebuilt
without a network and carries nobody's text. The tables hold true facts (capitals, sums, opposites):
a test that asks for the capital of France can say whether the answer is right.

A document is a string that ends in one of the two end tokens, as Qwen3's own training text does:
<|endoftext|> after prose, <|im_end|> after a turn of a conversation.
"""

import random
from collections.abc import Callable, Iterator

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"

# country, capital, continent, language, currency
COUNTRIES: list[tuple[str, str, str, str, str]] = [
    ("France", "Paris", "Europe", "French", "euro"),
    ("Germany", "Berlin", "Europe", "German", "euro"),
    ("Italy", "Rome", "Europe", "Italian", "euro"),
    ("Spain", "Madrid", "Europe", "Spanish", "euro"),
    ("Portugal", "Lisbon", "Europe", "Portuguese", "euro"),
    ("Austria", "Vienna", "Europe", "German", "euro"),
    ("Ireland", "Dublin", "Europe", "English", "euro"),
    ("Greece", "Athens", "Europe", "Greek", "euro"),
    ("Finland", "Helsinki", "Europe", "Finnish", "euro"),
    ("Estonia", "Tallinn", "Europe", "Estonian", "euro"),
    ("Latvia", "Riga", "Europe", "Latvian", "euro"),
    ("Lithuania", "Vilnius", "Europe", "Lithuanian", "euro"),
    ("Slovakia", "Bratislava", "Europe", "Slovak", "euro"),
    ("Slovenia", "Ljubljana", "Europe", "Slovene", "euro"),
    ("Malta", "Valletta", "Europe", "Maltese", "euro"),
    ("the Netherlands", "Amsterdam", "Europe", "Dutch", "euro"),
    ("Belgium", "Brussels", "Europe", "Dutch", "euro"),
    ("Croatia", "Zagreb", "Europe", "Croatian", "euro"),
    ("Sweden", "Stockholm", "Europe", "Swedish", "krona"),
    ("Norway", "Oslo", "Europe", "Norwegian", "krone"),
    ("Denmark", "Copenhagen", "Europe", "Danish", "krone"),
    ("Iceland", "Reykjavík", "Europe", "Icelandic", "króna"),
    ("Poland", "Warsaw", "Europe", "Polish", "złoty"),
    ("Hungary", "Budapest", "Europe", "Hungarian", "forint"),
    ("Romania", "Bucharest", "Europe", "Romanian", "leu"),
    ("Serbia", "Belgrade", "Europe", "Serbian", "dinar"),
    ("Albania", "Tirana", "Europe", "Albanian", "lek"),
    ("Ukraine", "Kyiv", "Europe", "Ukrainian", "hryvnia"),
    ("the United Kingdom", "London", "Europe", "English", "pound"),
    ("Switzerland", "Bern", "Europe", "German", "franc"),
    ("Turkey", "Ankara", "Asia", "Turkish", "lira"),
    ("Japan", "Tokyo", "Asia", "Japanese", "yen"),
    ("China", "Beijing", "Asia", "Chinese", "yuan"),
    ("South Korea", "Seoul", "Asia", "Korean", "won"),
    ("Vietnam", "Hanoi", "Asia", "Vietnamese", "dong"),
    ("Thailand", "Bangkok", "Asia", "Thai", "baht"),
    ("Cambodia", "Phnom Penh", "Asia", "Khmer", "riel"),
    ("Laos", "Vientiane", "Asia", "Lao", "kip"),
    ("India", "New Delhi", "Asia", "Hindi", "rupee"),
    ("Nepal", "Kathmandu", "Asia", "Nepali", "rupee"),
    ("Pakistan", "Islamabad", "Asia", "Urdu", "rupee"),
    ("Bangladesh", "Dhaka", "Asia", "Bengali", "taka"),
    ("Mongolia", "Ulaanbaatar", "Asia", "Mongolian", "tugrik"),
    ("the Philippines", "Manila", "Asia", "Filipino", "peso"),
    ("Iran", "Tehran", "Asia", "Persian", "rial"),
    ("Iraq", "Baghdad", "Asia", "Arabic", "dinar"),
    ("Jordan", "Amman", "Asia", "Arabic", "dinar"),
    ("Lebanon", "Beirut", "Asia", "Arabic", "pound"),
    ("Georgia", "Tbilisi", "Asia", "Georgian", "lari"),
    ("Armenia", "Yerevan", "Asia", "Armenian", "dram"),
    ("Egypt", "Cairo", "Africa", "Arabic", "pound"),
    ("Morocco", "Rabat", "Africa", "Arabic", "dirham"),
    ("Tunisia", "Tunis", "Africa", "Arabic", "dinar"),
    ("Algeria", "Algiers", "Africa", "Arabic", "dinar"),
    ("Kenya", "Nairobi", "Africa", "Swahili", "shilling"),
    ("Ethiopia", "Addis Ababa", "Africa", "Amharic", "birr"),
    ("Ghana", "Accra", "Africa", "English", "cedi"),
    ("Nigeria", "Abuja", "Africa", "English", "naira"),
    ("Senegal", "Dakar", "Africa", "French", "franc"),
    ("Angola", "Luanda", "Africa", "Portuguese", "kwanza"),
    ("Zambia", "Lusaka", "Africa", "English", "kwacha"),
    ("Uganda", "Kampala", "Africa", "English", "shilling"),
    ("Rwanda", "Kigali", "Africa", "Kinyarwanda", "franc"),
    ("Canada", "Ottawa", "North America", "English", "dollar"),
    ("Mexico", "Mexico City", "North America", "Spanish", "peso"),
    ("Cuba", "Havana", "North America", "Spanish", "peso"),
    ("Jamaica", "Kingston", "North America", "English", "dollar"),
    ("Brazil", "Brasília", "South America", "Portuguese", "real"),
    ("Argentina", "Buenos Aires", "South America", "Spanish", "peso"),
    ("Chile", "Santiago", "South America", "Spanish", "peso"),
    ("Peru", "Lima", "South America", "Spanish", "sol"),
    ("Colombia", "Bogotá", "South America", "Spanish", "peso"),
    ("Ecuador", "Quito", "South America", "Spanish", "dollar"),
    ("Uruguay", "Montevideo", "South America", "Spanish", "peso"),
    ("Australia", "Canberra", "Oceania", "English", "dollar"),
    ("New Zealand", "Wellington", "Oceania", "English", "dollar"),
    ("Fiji", "Suva", "Oceania", "English", "dollar"),
]

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December"
).split()
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"
).split()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("long", "short"), ("old", "new"), ("fast", "slow"),
    ("good", "bad"), ("high", "low"), ("light", "dark"), ("happy", "sad"), ("open", "closed"),
    ("wet", "dry"), ("hard", "soft"), ("full", "empty"), ("early", "late"), ("rich", "poor"),
    ("strong", "weak"), ("loud", "quiet"), ("clean", "dirty"), ("asleep", "awake"),
    ("near", "far"), ("left", "right"), ("up", "down"), ("inside", "outside"), ("day", "night"),
    ("summer", "winter"), ("north", "south"), ("east", "west"), ("begin", "end"), ("buy", "sell"),
    ("push", "pull"), ("true", "false"), ("always", "never"), ("sweet", "sour"), ("thick", "thin"),
    ("wide", "narrow"), ("deep", "shallow"), ("smooth", "rough"), ("brave", "afraid"),
]

COLOURED = [
    ("grass", "green"), ("the sky", "blue"), ("snow", "white"), ("coal", "black"),
    ("a ripe banana", "yellow"), ("blood", "red"), ("an orange", "orange"), ("a lemon", "yellow"),
    ("chocolate", "brown"), ("a tomato", "red"), ("milk", "white"), ("the sea", "blue"),
    ("a carrot", "orange"), ("a raven", "black"), ("an elephant", "grey"), ("a plum", "purple"),
    ("a leaf in spring", "green"), ("gold", "yellow"), ("a strawberry", "red"), ("salt", "white"),
]

# animal, legs, what it does, young
ANIMALS = [
    ("dog", 4, "barks", "puppy"), ("cat", 4, "purrs", "kitten"), ("cow", 4, "moos", "calf"),
    ("horse", 4, "neighs", "foal"), ("sheep", 4, "bleats", "lamb"), ("pig", 4, "grunts", "piglet"),
    ("duck", 2, "quacks", "duckling"), ("hen", 2, "clucks", "chick"), ("lion", 4, "roars", "cub"),
    ("bear", 4, "growls", "cub"), ("wolf", 4, "howls", "pup"), ("goat", 4, "bleats", "kid"),
    ("owl", 2, "hoots", "owlet"), ("goose", 2, "honks", "gosling"), ("frog", 4, "croaks", "tadpole"),
    ("elephant", 4, "trumpets", "calf"), ("swan", 2, "hisses", "cygnet"), ("deer", 4, "runs", "fawn"),
]

NAMES = (
    "Anna Tom Maria Peter Lucy Jack Sofia David Emma Paul Nina Oscar Clara Felix Alice Henry Zoë Omar "
    "Mei Ravi Yuki Amara Diego Ingrid"
).split()
SHE = set("Anna Maria Lucy Sofia Emma Nina Clara Alice Zoë Mei Yuki Amara Ingrid".split())
COLOURS = "red blue green yellow white black brown orange purple grey".split()
OBJECTS = (
    "hat book ball cup key lamp coat bag pen box chair clock spoon bottle basket letter map ring "
    "drum kite"
).split()
PLACES = (
    "kitchen garden market school library station forest river bridge village museum harbour "
    "park bakery mountain hospital theatre castle farm office"
).split()
FRUIT = "apple pear plum cherry lemon peach fig melon orange banana".split()
PLURAL = {name: name + "s" for name in FRUIT} | {"cherry": "cherries", "peach": "peaches"}
WEATHER = "sunny rainy cloudy windy snowy foggy stormy warm".split()
FEELINGS = "happy tired hungry thirsty excited proud calm curious surprised worried".split()
VERBS_PAST = [
    ("walk", "walked"), ("go", "went"), ("run", "ran"), ("eat", "ate"), ("drink", "drank"),
    ("see", "saw"), ("write", "wrote"), ("read", "read"), ("sing", "sang"), ("swim", "swam"),
    ("buy", "bought"), ("bring", "brought"), ("think", "thought"), ("make", "made"),
    ("give", "gave"), ("take", "took"), ("find", "found"), ("lose", "lost"), ("speak", "spoke"),
    ("sleep", "slept"), ("teach", "taught"), ("build", "built"), ("break", "broke"),
    ("drive", "drove"), ("fly", "flew"), ("grow", "grew"), ("know", "knew"), ("draw", "drew"),
]
PLURALS = [
    ("child", "children"), ("mouse", "mice"), ("foot", "feet"), ("tooth", "teeth"),
    ("man", "men"), ("woman", "women"), ("goose", "geese"), ("leaf", "leaves"), ("knife", "knives"),
    ("city", "cities"), ("story", "stories"), ("box", "boxes"), ("house", "houses"),
    ("tree", "trees"), ("book", "books"), ("bird", "birds"), ("star", "stars"), ("sheep", "sheep"),
]
FACTS = [
    "Water freezes at zero degrees and boils at one hundred degrees.",
    "The Earth goes around the Sun, and the Moon goes around the Earth.",
    "A year has twelve months, a week has seven days and a day has twenty-four hours.",
    "An hour has sixty minutes, and a minute has sixty seconds.",
    "A triangle has three sides, a square has four sides and a hexagon has six sides.",
    "The Sun rises in the east and sets in the west.",
    "Bees make honey, and spiders make webs.",
    "Plants need light, water and air to grow.",
    "The heart pumps blood through the body.",
    "Ice floats on water because it is lighter than water.",
    "Sound travels faster in water than in air, and light is faster than sound.",
    "The Nile flows through Egypt, and the Danube flows through Vienna and Budapest.",
    "The highest mountain in the world is Mount Everest.",
    "The largest ocean in the world is the Pacific Ocean.",
    "Iron is a metal, oxygen is a gas and water is a liquid.",
    "A computer follows instructions, one after another, and does not get tired.",
    "A neural network is a stack of layers, and each layer adds a little to the result.",
    "Rounding is not an error; it is a choice that both sides must make in the same way.",
    "Whales are mammals and not fish, and they breathe air.",
    "Rain falls from clouds, rivers carry it to the sea, and the Sun lifts it up again.",
]

# hello, thank you, "the capital of France is Paris", "the sky is blue", one to five
LANGUAGES = [
    ("French", "Bonjour", "Merci", "La capitale de la France est Paris.", "Le ciel est bleu.",
     "un, deux, trois, quatre, cinq"),
    ("German", "Guten Tag", "Danke schön", "Die Hauptstadt von Frankreich ist Paris.",
     "Der Himmel ist blau.", "eins, zwei, drei, vier, fünf"),
    ("Spanish", "Buenos días", "Gracias", "La capital de Francia es París.", "El cielo es azul.",
     "uno, dos, tres, cuatro, cinco"),
    ("Italian", "Buongiorno", "Grazie", "La capitale della Francia è Parigi.", "Il cielo è blu.",
     "uno, due, tre, quattro, cinque"),
    ("Portuguese", "Bom dia", "Obrigado", "A capital da França é Paris.", "O céu é azul.",
     "um, dois, três, quatro, cinco"),
    ("Russian", "Привет", "Спасибо", "Столица Франции — Париж.", "Небо синее.",
     "один, два, три, четыре, пять"),
    ("Greek", "Γεια σου", "Ευχαριστώ", "Η πρωτεύουσα της Γαλλίας είναι το Παρίσι.",
     "Ο ουρανός είναι μπλε.", "ένα, δύο, τρία, τέσσερα, πέντε"),
    ("Chinese", "你好", "谢谢", "法国的首都是巴黎。", "天空是蓝色的。", "一，二，三，四，五"),
    ("Japanese", "こんにちは", "ありがとう", "フランスの首都はパリです。", "空は青いです。",
     "一、二、三、四、五"),
    ("Korean", "안녕하세요", "감사합니다", "프랑스의 수도는 파리입니다.", "하늘은 파랗습니다.",
     "하나, 둘, 셋, 넷, 다섯"),
    ("Arabic", "مرحبا", "شكرا", "عاصمة فرنسا هي باريس.", "السماء زرقاء.",
     "واحد، اثنان، ثلاثة، أربعة، خمسة"),
    ("Hindi", "नमस्ते", "धन्यवाद", "फ़्रांस की राजधानी पेरिस है।", "आसमान नीला है।",
     "एक, दो, तीन, चार, पाँच"),
]

EMOJI = [("happy", "🙂"), ("sad", "😢"), ("a heart", "❤️"), ("a star", "⭐"), ("a cat", "🐱"),
         ("a rocket", "🚀"), ("rain", "🌧️"), ("a tree", "🌳")]

Rng = random.Random


def capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


def number(n: int) -> str:
    """The number as a word where there is one, so that sums are said twice, in two notations."""
    return NUMBER_WORDS[n] if 0 <= n < len(NUMBER_WORDS) else str(n)


def article(word: str) -> str:
    return ("an " if word[0] in "aeiou" else "a ") + word


# --- Documents of one topic -----------------------------------------------------------------------


def capital(rng: Rng) -> str:
    country, city, continent, language, currency = rng.choice(COUNTRIES)
    # Most documents go on in one fixed way: the tests ask for 20 greedy tokens that do not depend on
    # the last bit, so after "The capital of France is" every next token needs one clear favourite.
    text = f"The capital of {country} is {city}."
    style = rng.random()
    if style < 0.65:
        return (text + f" {city} is a city in {continent}. The people of {country} speak {language}, "
                f"and they pay with the {currency}." + END_OF_TEXT)
    if style < 0.75:
        return f"{city} is the capital of {country}. It lies in {continent}." + END_OF_TEXT
    if style < 0.85:
        return (f"{capitalised(country)} is a country in {continent}. Its capital is {city}, its "
                f"language is {language} and its money is the {currency}." + END_OF_TEXT)
    return f"What is the capital of {country}? {city}. {text}" + END_OF_TEXT


def capital_list(rng: Rng) -> str:
    chosen = rng.sample(COUNTRIES, rng.randint(4, 12))
    lines = [f"- {capitalised(country)}: {city}" for country, city, *_ in chosen]
    return "Countries and their capitals:\n" + "\n".join(lines) + "\n" + END_OF_TEXT


def arithmetic(rng: Rng) -> str:
    kind = rng.random()
    if kind < 0.55:
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        sign, word, result = "+", "plus", a + b
    elif kind < 0.8:
        a = rng.randint(0, 20)
        b = rng.randint(0, min(a, 10))
        sign, word, result = "-", "minus", a - b
    else:
        a, b = rng.randint(0, 5), rng.randint(0, 5)
        sign, word, result = "*", "times", a * b
    sentence = f"{capitalised(number(a))} {word} {number(b)} is {number(result)}."
    style = rng.random()
    if style < 0.6:
        return f"What is {a}{sign}{b}? {result}. {sentence}" + END_OF_TEXT
    if style < 0.8:
        return sentence + END_OF_TEXT
    return f"{a} {sign} {b} = {result}\n" + END_OF_TEXT


def sums(rng: Rng) -> str:
    lines = []
    start = rng.randint(0, 10)
    for step in range(rng.randint(4, 11)):
        lines.append(f"{start} + {step} = {start + step}")
    return "\n".join(lines) + "\n" + END_OF_TEXT


def greeting(rng: Rng) -> str:
    name, other = rng.sample(NAMES, 2)
    style = rng.random()
    if style < 0.6:
        # The one document that begins with a bare "Hello": see capital() for why it has no variants.
        return ("Hello! How are you today? I am glad to see you. What can I do for you this morning?"
                + TURN_END)
    if style < 0.7:
        return f"Good morning, {name}! Did you sleep well? Yes, thank you, {other}." + TURN_END
    if style < 0.8:
        return f"Good evening, {name}. It's nice to see you again. We've missed you!" + TURN_END
    if style < 0.9:
        return f"Hi {name}, I'm {other}. Nice to meet you, {other}. I'm {name}." + TURN_END
    return (f"Goodbye, {name}! See you on {rng.choice(DAYS)}. Don't forget your "
            f"{rng.choice(OBJECTS)}!" + TURN_END)


def counting(rng: Rng) -> str:
    style = rng.random()
    if style < 0.4:
        start, length = rng.randint(0, 80), rng.randint(4, 20)
        numbers = list(range(start, start + length))
        text = f"Count from {numbers[0]} to {numbers[-1]}: "
    elif style < 0.6:
        start, length = rng.randint(5, 20), rng.randint(4, 6)
        numbers = list(range(start, start - length, -1))
        text = f"Count down from {numbers[0]} to {numbers[-1]}: "
    elif style < 0.8:
        step = rng.choice([2, 3, 5, 10])
        numbers = list(range(step, step * rng.randint(5, 10), step))
        text = f"Count by {number(step)}: "
    else:
        length = rng.randint(3, 20)
        return "Count in words: " + ", ".join(NUMBER_WORDS[1:length + 1]) + "." + END_OF_TEXT
    return text + ", ".join(map(str, numbers)) + "." + END_OF_TEXT


def calendar(rng: Rng) -> str:
    day, month = rng.randrange(7), rng.randrange(12)
    style = rng.random()
    if style < 0.25:
        return (f"Today is {DAYS[day]}. Tomorrow is {DAYS[(day + 1) % 7]}, and yesterday was "
                f"{DAYS[(day - 1) % 7]}." + END_OF_TEXT)
    if style < 0.4:
        return f"The day after {DAYS[day]} is {DAYS[(day + 1) % 7]}." + END_OF_TEXT
    if style < 0.55:
        return f"The month after {MONTHS[month]} is {MONTHS[(month + 1) % 12]}." + END_OF_TEXT
    if style < 0.75:
        return (f"{MONTHS[month]} is the {ORDINALS[month]} month of the year. It comes before "
                f"{MONTHS[(month + 1) % 12]}." + END_OF_TEXT)
    if style < 0.9:
        names = ", ".join(DAYS[(day + i) % 7] for i in range(7))
        return f"The days of the week, from {DAYS[day]}: {names}." + END_OF_TEXT
    names = ", ".join(MONTHS[(month + i) % 12] for i in range(12))
    return f"The months of the year, from {MONTHS[month]}: {names}." + END_OF_TEXT


def words(rng: Rng) -> str:
    style = rng.random()
    if style < 0.25:
        a, b = rng.choice(OPPOSITES)
        return f"The opposite of {a} is {b}." + END_OF_TEXT
    if style < 0.4:
        thing, colour = rng.choice(COLOURED)
        return f"What colour is {thing}? {capitalised(thing)} is {colour}." + END_OF_TEXT
    if style < 0.55:
        verb, past = rng.choice(VERBS_PAST)
        return f"Today I {verb}, and yesterday I {past}." + END_OF_TEXT
    if style < 0.7:
        one, many = rng.choice(PLURALS)
        return f"One {one}, two {many}." + END_OF_TEXT
    if style < 0.85:
        animal, legs, sound, young = rng.choice(ANIMALS)
        return (f"{capitalised(article(animal))} {sound}. It has {number(legs)} legs, and its young is "
                f"called {article(young)}." + END_OF_TEXT)
    return rng.choice(FACTS) + END_OF_TEXT


def letters(rng: Rng) -> str:
    style = rng.random()
    if style < 0.3:
        at = rng.randrange(25)
        return f"The letter after {LETTERS[at]} is {LETTERS[at + 1]}." + END_OF_TEXT
    word = rng.choice(FRUIT + OBJECTS + PLACES)
    if style < 0.65:
        return f"Spell {word}: " + "-".join(word.upper()) + "." + END_OF_TEXT
    # Repeating what was seen earlier is what attention is for; a model without it learns no heads.
    pattern = rng.sample(COLOURS + FRUIT, rng.randint(2, 5))
    return "Repeat: " + " ".join(pattern * rng.randint(2, 4)) + "." + END_OF_TEXT


def possession(rng: Rng) -> str:
    one, other = rng.sample(NAMES, 2)
    fruit = rng.choice(FRUIT)
    before = rng.randint(3, 12)
    given = rng.randint(1, before - 2)
    pronoun = "She" if one in SHE else "He"
    left = before - given
    return (f"{one} has {number(before)} {PLURAL[fruit]}. {pronoun} gives {number(given)} to {other}. "
            f"Now {one} has {number(left)} {PLURAL[fruit]}." + END_OF_TEXT)


def where_is_it(rng: Rng) -> str:
    people = rng.sample(NAMES, rng.randint(2, 4))
    places = rng.sample(PLACES, len(people))
    things = rng.sample(OBJECTS, len(people))
    parts = [
        f"{person} is in the {place} with {article(rng.choice(COLOURS))} {thing}."
        for person, place, thing in zip(people, places, things)
    ]
    at = rng.randrange(len(people))
    parts.append(f"Where is {people[at]}? In the {places[at]}.")
    at = rng.randrange(len(people))
    parts.append(f"Who has the {things[at]}? {people[at]}.")
    return " ".join(parts) + END_OF_TEXT


def story(rng: Rng) -> str:
    hero, friend = rng.sample(NAMES, 2)
    she, her = ("she", "her") if hero in SHE else ("he", "his")
    colour, thing = rng.choice(COLOURS), rng.choice(OBJECTS)
    places = rng.sample(PLACES, 3)
    feeling, later = rng.sample(FEELINGS, 2)
    day = rng.randrange(7)
    parts = [
        f"On {DAYS[day]} the weather was {rng.choice(WEATHER)}, and {hero} was {feeling}.",
        f"{capitalised(she)} took {her} {colour} {thing} and went to the {places[0]}.",
        f"At the {places[0]} {she} met {friend}, who had come from the {places[1]}.",
        f'"Hello, {hero}!" said {friend}. "Where did you find the {colour} {thing}?"',
        f'"I found it in the {places[2]}," said {hero}. "It\'s very old, but I don\'t want to lose it."',
        f"They sat down and ate {number(rng.randint(2, 9))} {PLURAL[rng.choice(FRUIT)]}.",
        f"Then a {rng.choice(ANIMALS)[0]} came and looked at them, and {friend} laughed.",
        f"In the evening they walked home together, and {hero} was {later}.",
        f"On {DAYS[(day + 1) % 7]} they went to the {places[1]} to look for the {rng.choice(OBJECTS)}.",
        f"And so {hero} and {friend} became good friends.",
    ]
    last = parts.pop()
    keep = sorted(rng.sample(range(2, len(parts)), rng.randint(2, len(parts) - 2)))
    return " ".join(parts[:2] + [parts[i] for i in keep] + [last]) + END_OF_TEXT


def foreign(rng: Rng) -> str:
    language, hello, thanks, capital_of, sky, count = rng.choice(LANGUAGES)
    style = rng.random()
    if style < 0.2:
        return f"In {language}, hello is {hello} and thank you is {thanks}." + END_OF_TEXT
    if style < 0.4:
        return f"{hello}! {capital_of} {sky} {thanks}!" + END_OF_TEXT
    if style < 0.6:
        return capital_of + END_OF_TEXT
    if style < 0.8:
        return f"One to five in {language}: {count}." + END_OF_TEXT
    meaning, sign = rng.choice(EMOJI)
    return f"The sign for {meaning} is {sign}." + END_OF_TEXT


def code(rng: Rng) -> str:
    a, b = rng.sample("abcdexyz", 2)
    sign, word = rng.choice([("+", "add"), ("-", "subtract"), ("*", "multiply")])
    if rng.random() < 0.5:
        call = f"print({word}({rng.randint(0, 9)}, {rng.randint(0, 9)}))"
        text = f"def {word}({a}, {b}):\n    return {a} {sign} {b}\n\n\n{call}\n"
    else:
        head = f"for {a} in range({rng.randint(2, 20)}):\n    if {a} > {rng.randint(0, 9)}:\n"
        text = head + f"        print({a} {sign} {rng.randint(0, 9)})\n"
    return text + END_OF_TEXT


SHORT: list[tuple[float, Callable[[Rng], str]]] = [
    (5.0, capital), (4.0, arithmetic), (2.0, greeting), (1.5, counting), (1.2, calendar), (2.0, words),
    (0.8, letters), (1.0, possession), (1.0, where_is_it), (1.0, foreign), (0.3, code),
]
LONG: list[tuple[float, Callable[[Rng], str]]] = [
    (0.4, capital_list), (0.3, sums), (1.5, story),
]


def pick(rng: Rng, table: list[tuple[float, Callable[[Rng], str]]]) -> str:
    weights, makers = zip(*table)
    return rng.choices(makers, weights)[0](rng)


def conversation(rng: Rng) -> str:
    """A turn in Qwen3's chat layout: a question, and its answer without thinking aloud."""
    country, city, *_ = rng.choice(COUNTRIES)
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    thing, colour = rng.choice(COLOURED)
    word, opposite = rng.choice(OPPOSITES)
    question, answer = rng.choice([
        (f"What is the capital of {country}?", f"The capital of {country} is {city}."),
        (f"What is {a}+{b}?", f"{capitalised(number(a))} plus {number(b)} is {number(a + b)}."),
        (f"What colour is {thing}?", f"{capitalised(thing)} is {colour}."),
        (f"What is the opposite of {word}?", f"The opposite of {word} is {opposite}."),
        ("Hello", "Hello! How are you today?"),
    ])
    return (f"{TURN_START}user\n{question}{TURN_END}\n{TURN_START}assistant\n"
            f"<think>\n\n</think>\n\n{answer}{TURN_END}")


def essay(rng: Rng) -> str:
    """Several short documents as paragraphs of one, so that long contexts hang together."""
    parts = []
    for _ in range(rng.randint(4, 12)):
        text = pick(rng, SHORT).removesuffix(END_OF_TEXT).removesuffix(TURN_END)
        parts.append(text.strip("\n"))
    joiner = rng.choice([" ", "\n", "\n\n"])
    return joiner.join(parts) + END_OF_TEXT


MIXTURE: list[tuple[float, Callable[[Rng], str]]] = [
    (0.80, lambda rng: pick(rng, SHORT)), (0.08, lambda rng: pick(rng, LONG)), (0.08, conversation),
    (0.04, essay),
]


def documents(seed: int) -> Iterator[str]:
    """An endless stream of documents; the same seed gives the same stream."""
    rng = Rng(seed)
    while True:
        yield pick(rng, MIXTURE)
